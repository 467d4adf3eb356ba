"""etcd's messages: our .proto files and the modules generated from them, nothing else.

Regenerate with `python tools/proto.py`. Only `kubebraid.proto` imports from here.
"""

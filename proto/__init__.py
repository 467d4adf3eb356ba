"""The wire: etcd's messages, their bytes, the client edge. Generated code stays inside."""

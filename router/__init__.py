"""The router role: the etcd API, routing, the merge of watches. Holds no durable state."""

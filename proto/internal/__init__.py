"""Our own messages between processes: `.proto` files and what protoc makes of them."""

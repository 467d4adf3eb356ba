"""The operators' API: a `.proto` file and what protoc makes of it."""

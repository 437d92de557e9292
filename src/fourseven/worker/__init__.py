"""A worker: one thread without the GIL, one epoll loop, its timers and its buffers."""

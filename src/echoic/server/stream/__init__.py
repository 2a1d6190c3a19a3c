"""One WebSocket stream: connection, outbox, flow control, resume."""

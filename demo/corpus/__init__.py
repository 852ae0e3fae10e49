"""Training text: hand-written patterns and the generators that turn them into chats."""

"""Remote control: what nodes can be asked and told, declared once, and how it travels."""

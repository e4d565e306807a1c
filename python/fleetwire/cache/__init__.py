"""What need not be asked again: rendered answers, kept per tenant and scope, dropped when what they rest on changes."""

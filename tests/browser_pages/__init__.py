"""What a person sees in a real browser, at an app on one site and a provider on another."""

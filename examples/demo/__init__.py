"""Three processes of `examples.service`, one of them killed in the middle, and every read judged from outside."""

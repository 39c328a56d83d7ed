"""What is reduced and rendered of the study `complementarity`."""

"""Who speaks: diarizers behind one Protocol, what each needs, and where one is found."""

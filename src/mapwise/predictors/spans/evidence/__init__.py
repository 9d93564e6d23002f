"""What a finder of spans says of its own texts while they are held out."""

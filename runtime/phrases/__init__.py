"""Keywords typed as text: their phones are looked for in a phone model's stream, in numpy alone."""

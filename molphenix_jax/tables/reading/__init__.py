"""Files of any kind people have, as streams of rows."""

"""Each client plays Steps and writes into a Diary what it did."""

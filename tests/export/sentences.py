"""Twenty sentences of many kinds, to compare models on."""

SENTENCES = (
    'The ferry to the island leaves at half past six, weather permitting.',
    'Water boils at a lower temperature on top of a mountain.',
    'She had never read a letter so short, or one that said so much.',
    'The function returns None if the key is missing.',
    'Interest rates were left unchanged for the third time in a row.',
    'Two cups of flour, a pinch of salt and one egg are all it takes.',
    'In 1969 the first two computers of that network exchanged two letters.',
    'Why would anyone paint a barn blue?',
    'The orchestra tuned for a long time before the lights went down.',
    'Proteins fold into shapes that decide what they do in a cell.',
    'He sold the bicycle, bought it back, and sold it again.',
    'Rain fell on the tin roof until four in the morning.',
    'The court found that the contract had never been signed.',
    'Most of the desert is not sand but gravel and bare rock.',
    'A goalkeeper who guesses right still misses most penalties.',
    'Set the timeout in seconds; zero waits for ever.',
    'Grandmother kept the good plates on the highest shelf.',
    'The committee will meet on Tuesday, if anyone remembers to invite it.',
    'Light from that star left it before the pyramids were built.',
    'Ok.',
)

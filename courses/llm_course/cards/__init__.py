"""Spaced repetition: cards from YAML, in the page, in the terminal and as an Anki deck.

deck        cards.yaml to cards
fsrs        when a card is due again, by the FSRS-6 model of memory
queue       what is due, from the progress log
anki        the deck as an .apkg file
page        the browser's data
"""

"""One look for every page, picture and table that the project draws.

units         numbers for people: seconds, bytes, shares, rates, ratios
percentile    the one definition of a percentile
svg           scales with round ticks, and the elements of a chart
theme         the style sheet that pages share: colours for light, dark and paper, type, charts
template      pages from Jinja2 templates, with the style sheet in them
markdown      tables for pages in Markdown
snippets      code by symbol or named region
"""

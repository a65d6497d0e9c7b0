"""One look for every page, picture and table that the project draws.

units         numbers for people: seconds, shares, rates, ratios
percentile    the one definition of a percentile
svg           scales with round ticks, and the elements of a chart
theme         the style sheet that pages share: colours for light, dark and paper, type, charts
markdown      tables for pages in Markdown
snippets      code by symbol or named region
"""

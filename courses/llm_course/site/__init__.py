"""The site: Markdown with code, figures and claims from their sources; generated pages; builds and their checks.

expand      the pages' own notation: code, figures, claims about vLLM, the syllabus, links into the repository
extension   the same as a Markdown extension, for both builders
pages       front matter of modules' pages
generate    writes docs/generated and the navigation
build       MkDocs and zensical in an environment of their own
links       checks every link of a built site
"""

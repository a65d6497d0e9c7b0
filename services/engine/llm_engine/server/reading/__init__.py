"""From the bytes of a body to what the engine takes.

body, intake                  the bytes; large bodies are read in a process of their own
requests, request_fields      the bodies that this engine understands, and the fate of every other field
messages, rendering           a chat's messages, its template, its prompt
prompts, submission           token ids and sampling parameters
reader                        all of it in order
"""

"""Reading request bodies: from bytes to token ids and sampling parameters.

body, intake                  the bytes; large bodies are read in a separate process
requests, request_fields      the request models, and the handling of every other field
messages, rendering           a chat's messages, its template, its prompt
prompts, submission           token ids and sampling parameters
reader                        all steps in order
"""

"""Answers over HTTP from exported models: closed by default, and steady under load.

`plait serve app` is the way in; `plait.serve.app.build` gives the ASGI application.
"""

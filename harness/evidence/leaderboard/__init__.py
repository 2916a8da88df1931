"""Leaderboards: small JSON files are the source of truth; every table and page is made from them."""

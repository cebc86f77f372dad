"""`milepost search ...`"""

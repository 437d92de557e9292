ROWS: int

"""What people see: words for a terminal, pages, and other people's formats."""

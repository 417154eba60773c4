"""From what a user says of a calendar to its days: dates, public holidays, iCalendar files."""

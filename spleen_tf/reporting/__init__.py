"""Results for people: pictures, plots, pages."""

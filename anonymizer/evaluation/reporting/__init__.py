"""Tables, plots, galleries and the HTML report of an evaluation."""

"""From helm's error text to an error that says what is wrong."""

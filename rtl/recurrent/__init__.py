"""The recurrent state of models without attention."""

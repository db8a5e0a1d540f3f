"""Networks measured side by side: time, memory and answers, in every mode of inference."""

"""What is trained: policies, references and reward models, from and to Hugging Face folders."""

"""What is known of classes beside their examples: names, and sentences about them."""

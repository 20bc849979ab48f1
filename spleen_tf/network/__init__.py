"""The U-Net, and the grid that it works on."""

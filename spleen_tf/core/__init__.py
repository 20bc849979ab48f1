"""What every command needs: flags, files, workers, resumed plans, clocks."""

"""What every command needs: flags, files, processes, resumed runs, clocks."""

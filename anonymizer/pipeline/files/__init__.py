"""Files and folders: which files a folder holds, and results that appear complete or not at all."""

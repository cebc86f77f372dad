"""What this installation is: `settings`, its `data_folder`, the `endpoints` of its stack, the `page_files` of its page.

How its processes speak of themselves: `json_logs`, `observability`.
"""

"""What is measured without any server: `bench_rules` what rules cost."""

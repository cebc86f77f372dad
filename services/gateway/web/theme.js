// @ts-check
// Runs before the first paint, so that a chosen theme never flashes. A classic script: modules come too late.
try {
  document.documentElement.dataset.theme = localStorage.getItem('milepost.theme') || 'system'
} catch {
  document.documentElement.dataset.theme = 'system'
}

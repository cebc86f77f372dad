// @ts-check
// Series as comma-separated values. Pure.

/** @import { Series } from './series.js' */

/** @param {string} text */
function quoted(text) {
  return /[",]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

/**
 * One row per bucket of each series.
 *
 * @param {Series[]} list
 */
export function csv(list) {
  const rows = ['parent,key,attempt,superseded,first_step,last_step,time_ms,last,min,max,mean,count,nan_count']
  for (const series of list) {
    for (let i = 0; i < series.lastSteps.length; i += 1) {
      rows.push(
        [
          series.parent,
          quoted(series.key),
          series.attempts[i],
          series.superseded,
          series.firstSteps[i],
          series.lastSteps[i],
          series.times[i],
          series.lasts[i],
          series.mins[i],
          series.maxs[i],
          series.means[i],
          series.counts[i],
          series.nans[i],
        ].join(','),
      )
    }
  }
  return `${rows.join('\n')}\n`
}

// @ts-check
// Elements without a build step.
import { h } from './vendor/preact.js'
import htm from './vendor/htm.js'

/** @import { VNode } from './vendor/preact.js' */
/**
 * What a template may hold. Its text is not read by the compiler, so what a component or a handler gets is not known
 * here.
 *
 * @typedef {((given: any, more: any) => unknown) | string | number | bigint | boolean | object | null | undefined} Held
 */

/** @type {(strings: TemplateStringsArray, ...held: Held[]) => VNode | VNode[]} */
export const html = htm.bind(h)
export { Fragment, render } from './vendor/preact.js'
export { useEffect, useLayoutEffect, useMemo, useRef, useState } from './vendor/hooks.js'
export {
  batch,
  computed,
  effect,
  signal,
  untracked,
  useComputed,
  useSignal,
  useSignalEffect,
} from './vendor/signals.js'

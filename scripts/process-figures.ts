/** What processes on this machine cost, as the kernel tells it, and how samples are summed up. */
import { readFile } from 'node:fs/promises'

export interface Figures {
  readonly p50: number
  readonly min: number
  readonly max: number
}

/** User and system time of a process, seconds; the kernel counts hundredths. */
export async function cpuSecondsOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}

/** Resident memory of a process, bytes: now (`VmRSS`), or the most it ever had (`VmHWM`). */
export async function residentBytesOf(pid: number, field: 'VmRSS' | 'VmHWM'): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1] ?? 0) * 1024
}

/** Median (the lower one of an even count), least and most, in `unit`s, to hundredths. */
export function figuresOf(samples: readonly number[], unit = 1): Figures {
  const sorted = samples.map((sample) => sample / unit).sort((a, b) => a - b)
  const at = (share: number): number =>
    Math.round(100 * (sorted[Math.floor(share * (sorted.length - 1))] ?? 0)) / 100
  return { p50: at(0.5), min: at(0), max: at(1) }
}

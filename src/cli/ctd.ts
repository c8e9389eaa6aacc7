#!/usr/bin/env -S node --max-semi-space-size=4
/**
 * The command line. A thin client of the daemon's socket: everything that a command needs beyond
 * the parser is loaded when the command runs, and the daemon itself only by `ctd start`.
 */
import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { CtdError, errorMessage } from '../errors.js'
import { addAlgorithmOptions } from './algorithm-flags.js'
import { createContext, environment } from './context.js'
import type { Context, GlobalOptions } from './context.js'
import { EXIT, EXIT_CODES_HELP, exitCodeOf } from './exit-codes.js'
import type { AddFlags } from './blob-add.js'
import type { CalibrateFlags } from './calibrate.js'
import type { GetFlags } from './blob-get.js'
import type { ImageBuildFlags } from './images.js'
import type { MapFlags } from './map.js'
import type { ResultsFlags } from './results.js'
import type { RepFlags } from './rep.js'
import type { StartFlags } from './start.js'
import type { RunFlags, TrainFlags } from './submit.js'
import { createPaint } from './terminal.js'

/** For what is still being written when the work is over. */
const EXIT_GRACE_MS = 2_000

/** Runs a command line and gives its exit code; errors are told on stderr. */
async function main(argv: readonly string[]): Promise<number> {
  let exitCode: number = EXIT.ok
  const program = createProgram((code) => {
    exitCode = code
  })
  try {
    await program.parseAsync(argv)
    return exitCode
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage
    tellError(error)
    return error instanceof CtdError && error.code === 'INTERRUPTED'
      ? EXIT.interrupted
      : exitCodeOf(error)
  }
}

type SetExitCode = (code: number) => void

function createProgram(setExitCode: SetExitCode): Command {
  const program = new Command('ctd')
    .description(
      'Lend and borrow GPUs and CPUs among strangers, with results that prove themselves.',
    )
    .version(readVersion())
    .option('--json', 'print data as JSON on stdout')
    .option('--home <dir>', 'folder of the daemon (default: $CTD_HOME or ~/.local/share/ctd)')
    .exitOverride()
    .showHelpAfterError('(see: ctd --help)')
    .configureHelp({ showGlobalOptions: true })
    .addHelpText('after', '\nExit codes: ctd help exit-codes')
    .helpCommand(false)
  const add = (syntax: string, description: string): Command =>
    program.command(syntax).description(description).exitOverride()
  /** Wraps a command's work: context from the global options, exit code out. */
  const act = (work: (context: Context, ...args: string[]) => Promise<number>) =>
    async function action(this: Command, ...args: unknown[]): Promise<void> {
      const context = createContext(this.optsWithGlobals<GlobalOptions>())
      setExitCode(await work(context, ...args.filter((arg) => typeof arg === 'string')))
    }
  addNodeCommands(add, act)
  addJobCommands(add, act)
  addSubmitCommands(add, setExitCode)
  addBlobCommands(add, act)
  addImageCommands(add, act)
  addHelpCommand(program)
  return program
}

type Add = (syntax: string, description: string) => Command
type Act = (
  work: (context: Context, ...args: string[]) => Promise<number>,
) => (this: Command, ...args: unknown[]) => Promise<void>

function addNodeCommands(add: Add, act: Act): void {
  const start = add('start', 'run the daemon in the foreground')
    .option('--role <role>', 'peer or bootstrap')
    .option('--listen <address...>', 'multiaddresses to listen on')
    .option('--announce <address...>', 'multiaddresses to tell others')
    .option('--bootstrap <address...>', 'multiaddresses of peers to join by')
    .option('--network <name>', 'name of the network')
    .option('--preset <preset>', 'windows and timeouts: local, lan or public')
    .option('--config <file>', 'configuration file (default: config.yaml in the home)')
    .option('--log-level <level>', 'silent, error, warn, info or debug')
    .option('--no-execute', "do not work on others' jobs")
  start.action(
    act(async (context) => {
      const { startCommand } = await import('./start.js')
      return await startCommand(context, start.opts<StartFlags>())
    }),
  )
  add('status', 'this node, its jobs, and the last problem').action(
    act(async (context) => await (await import('./views.js')).statusCommand(context)),
  )
  add('peers', 'peers this node knows').action(
    act(async (context) => await (await import('./views.js')).peersCommand(context)),
  )
  const rep = add('rep', "what a peer's reputation is made of, and why")
    .argument('<peer>', 'peer id, or how it begins or ends')
    .option('--at <time>', 'as of a time, like 2026-11-22T10:00:00Z')
    .option('--all', 'all evidence, not the last twenty alone')
  rep.action(
    act(async (context, peer = '') => {
      const { repCommand } = await import('./rep.js')
      return await repCommand(context, peer, rep.opts<RepFlags>())
    }),
  )
  const calibrate = add('calibrate', 'measure whether a tolerance fits this machine').option(
    '--tolerance <profile>',
    'fp32, tf32 or bf16, and :TAU behind it (default: fp32)',
  )
  calibrate.action(
    act(async (context) => {
      const { calibrateCommand } = await import('./calibrate.js')
      return await calibrateCommand(context, calibrate.opts<CalibrateFlags>())
    }),
  )
  add('doctor', 'find out what keeps a daemon from working').action(
    act(async (context) => {
      const { doctorCommand } = await import('./doctor.js')
      return await doctorCommand(context)
    }),
  )
}

function addJobCommands(add: Add, act: Act): void {
  const id = ['<id>', 'job id, or how it begins (4 characters or more)'] as const
  add('ps', 'jobs').action(
    act(async (context) => await (await import('./views.js')).psCommand(context)),
  )
  const logs = add('logs', 'what a job has reported')
    .argument(...id)
    .option('-f, --follow', 'print new lines until the job ends')
  logs.action(
    act(async (context, job = '') => {
      const { logsCommand } = await import('./views.js')
      return await logsCommand(context, job, logs.opts())
    }),
  )
  const resume = add('resume', 'go on with a train job that failed, was cancelled or is orphaned')
    .argument(...id)
    .option('-d, --detach', 'print the job id and return at once')
    .option('--wait-timeout <duration>', 'follow no longer than this, for example 10m')
  resume.action(
    act(async (context, job = '') => {
      const { resumeCommand } = await import('./submit.js')
      return await resumeCommand(context, job, resume.opts())
    }),
  )
  add('cancel', 'end a job')
    .argument(...id)
    .action(
      act(
        async (context, job = '') => await (await import('./views.js')).cancelCommand(context, job),
      ),
    )
  const results = add('results', 'the result of a job, and its files with the proof')
    .argument(...id)
    .option('--out <dir>', 'write artifacts and transcript.ctd into a folder')
    .option('--force', 'write into a folder that is not empty')
    .option('--keep', 'pin the artifacts, so that they outlive the job')
    .option('--wait', 'follow the job until it ends')
    .option('--wait-timeout <duration>', 'wait no longer than this, for example 10m')
  results.action(
    act(async (context, job = '') => {
      const { resultsCommand } = await import('./results.js')
      return await resultsCommand(context, job, results.opts<ResultsFlags>())
    }),
  )
  const audit = add('audit', 'verify a transcript again, offline')
    .argument('<path>', 'transcript.ctd, or a folder written by ctd results --out')
    .option('--trust <peer...>', 'peer ids that anchor the transcript')
  audit.action(
    act(async (context, path = '') => {
      const { auditCommand } = await import('./audit.js')
      const { trust = [] } = audit.opts<{ trust?: string[] }>()
      return await auditCommand(path, { home: context.home, trust, json: context.json })
    }),
  )
}

function addSubmitCommands(add: Add, setExitCode: SetExitCode): void {
  const common = (command: Command): Command =>
    command
      .option('--name <name>', 'name of the job')
      .option('--seed <seed>', 'seed of the plan')
      .option('--replicas <n>', 'peers per task, 2 to 7')
      .option('--audit-ppm <n>', 'chance of a hidden extra replica, parts per million')
      .option('-d, --detach', 'print the job id and return at once')
      .option('--wait-timeout <duration>', 'follow no longer than this, for example 10m')
  const train = addAlgorithmOptions(
    common(
      add('train', 'train a model together with other peers')
        .requiredOption('--model <name>', 'model, for example bert-tiny')
        .requiredOption('--dataset <file...>', 'files or a folder of one format, or a digest')
        .requiredOption('--epochs <n>', 'passes over the data')
        .option('--from <digest>', 'begin with these weights, or with a round')
        .option('--shards <n>', 'parts of the data, trained side by side')
        .option('--batch-size <n>', 'examples per step')
        .option('--max-length <n>', 'tokens per example')
        .option('--learning-rate <rate>', 'of the inner optimiser')
        .option('--weights <folder>', 'begin with config.json and model.safetensors of it')
        .option(
          '--tokenizer <folder>',
          'its tokenizer.json, vocab.json and merges.txt, or vocab.txt',
        )
        .option('--text-column <name>', 'column of the text')
        .option('--label-column <name>', 'column of the label')
        .option('--feature-columns <names>', 'columns of numbers, with commas between')
        .option('--format <format>', 'csv, tsv, jsonl, txt, parquet, idx or npz')
        .option(
          '--tolerance <profile>',
          'replicas agree within fp32, tf32, bf16 or auto; bit for bit otherwise',
        ),
    ),
  )
  train.action(async () => {
    const { trainCommand } = await import('./submit.js')
    const context = createContext(train.optsWithGlobals<GlobalOptions>())
    setExitCode(await trainCommand(context, train.opts<TrainFlags>()))
  })
  addMapCommands((syntax, description) => common(add(syntax, description)), setExitCode)
  const collect = (value: string, before: readonly string[] = []): string[] => [...before, value]
  const run = common(
    add('run', 'run a program on other peers: ctd run --image cpu -- command, or ctd run job.yaml')
      .argument('[args...]', 'the command, or one job file')
      .option('--image <name>', 'task image, for example cpu')
      .option('--input <name=path>', 'file or folder shown at /in/<name>; may be repeated', collect)
      .option('--env <K=V>', 'environment of the program; may be repeated', collect)
      .option('--tasks <n>', 'how many tasks, 1 to 256')
      .option('--memory <size>', 'memory per task, for example 2GiB')
      .option('--out-size <size>', 'room for results per task, for example 256MiB')
      .option('--timeout <duration>', 'longest run of a task, for example 10m')
      .option('--gpus <n>', 'GPUs per task')
      .option('--vram <size>', 'least memory of each GPU, for example 8GiB')
      .option('--isolation <tier>', 'least isolation: runc, runsc or kata')
      .option('--atol <x>', 'replicas agree when numbers of /out/metrics.json are this near')
      .option('--rtol <x>', 'and this near relative to the larger one, for example 0.01')
      .option('--tolerance <profile>', 'or when tensors are: fp32, tf32, bf16 or auto'),
  )
  run.action(async (args: string[]) => {
    const { runCommand } = await import('./submit.js')
    const context = createContext(run.optsWithGlobals<GlobalOptions>())
    setExitCode(await runCommand(context, args, run.opts<RunFlags>()))
  })
}

function addMapCommands(add: Add, setExitCode: SetExitCode): void {
  const shared = (command: Command): Command =>
    command
      .requiredOption('--out <file>', 'where the rows are written; its ending says how')
      .option('--force', 'replace what is there')
      .option('--format <format>', 'of the rows, where the name does not say it')
      .option('--text-column <name>', 'column of the text')
      .option('--shards <n>', 'tasks side by side, 1 to 255')
  const model = [
    '--model <folder>',
    'config.json and model.safetensors; or the digest of a folder',
  ] as const
  const embed = shared(
    add('embed', 'vectors of texts, by a model of sentence vectors')
      .requiredOption(...model)
      .requiredOption('--dataset <file>', 'lines of text, or a table; or a digest'),
  )
  embed.action(async () => {
    const { mapCommand } = await import('./map.js')
    const context = createContext(embed.optsWithGlobals<GlobalOptions>())
    setExitCode(await mapCommand(context, 'embed', embed.opts<MapFlags>()))
  })
  const generate = shared(
    add('generate', 'texts that go on from prompts, by a language model')
      .requiredOption(...model)
      .requiredOption('--prompts <file>', 'lines of text, or a table; or a digest')
      .option('--max-tokens <n>', 'tokens behind each prompt at most (default: 64)')
      .option('--temperature <t>', '0 takes the likeliest token always (default), 1 draws'),
  )
  generate.action(async () => {
    const { mapCommand } = await import('./map.js')
    const context = createContext(generate.optsWithGlobals<GlobalOptions>())
    setExitCode(await mapCommand(context, 'generate', generate.opts<MapFlags>()))
  })
}

function addBlobCommands(add: Add, act: Act): void {
  const digest = ['<digest>', 'digest or CID of a blob, or how its digest begins'] as const
  const adding = add('add', 'keep a file or folder and offer it to peers by its digest')
    .argument('<path>', 'file or folder')
    .option('--name <name>', 'what to call it (default: the name of the file)')
    .option('--no-copy', 'hard links instead of copies; whoever writes into the file spoils it')
    .option('--no-pin', 'do not keep it: it goes when its room is needed')
  adding.action(
    act(async (context, path = '') => {
      const { addCommand } = await import('./blob-add.js')
      return await addCommand(context, path, adding.opts<AddFlags>())
    }),
  )
  const getting = add('get', 'fetch a file or folder from peers by its digest')
    .argument('<digest>', 'digest or CID')
    .option('--out <path>', 'where to write it (default: the first 12 characters of the digest)')
    .option('--from <peer>', 'ask this peer first')
    .option('--force', 'replace what is there')
    .option('--pin', 'keep it, and offer it to peers')
  getting.action(
    act(async (context, name = '') => {
      const { getCommand } = await import('./blob-get.js')
      return await getCommand(context, name, getting.opts<GetFlags>())
    }),
  )
  const listing = add('ls', 'what is pinned here, or all about one blob')
    .argument('[digest]', digest[1])
    .option('--all', 'every blob, also of jobs and of the cache')
  listing.action(
    act(async (context, name) => {
      const { lsCommand } = await import('./blobs.js')
      return await lsCommand(context, name, listing.opts())
    }),
  )
  const pinning = add('pin', 'keep a blob, whatever room is needed')
    .argument(...digest)
    .option('--name <name>', 'what to call it')
  pinning.action(
    act(async (context, name = '') => {
      const { pinCommand } = await import('./blobs.js')
      return await pinCommand(context, name, pinning.opts())
    }),
  )
  add('unpin', 'let go of a blob; it goes when its room is needed')
    .argument(...digest)
    .action(
      act(async (context, name = '') => (await import('./blobs.js')).unpinCommand(context, name)),
    )
  const removing = add('rm', 'remove blobs that no job needs, and offer them no longer').argument(
    '<digest...>',
    digest[1],
  )
  removing.action(
    act(async (context) => (await import('./blobs.js')).rmCommand(context, removing.args)),
  )
  add('du', 'what takes the storage quota').action(
    act(async (context) => await (await import('./blobs.js')).duCommand(context)),
  )
  add('scrub', 'read every blob again and mend what has rotted').action(
    act(async (context) => await (await import('./blobs.js')).scrubCommand(context)),
  )
}

function addImageCommands(add: Add, act: Act): void {
  const image = add('image', 'task images: build, add, list and remove them')
  const sub = (syntax: string, description: string): Command =>
    image.command(syntax).description(description).exitOverride()
  const building = sub('build', 'build the CPU image from Debian packages (root, Debian)').option(
    '--force',
    'build anew what is built already',
  )
  building.action(
    act(async (context) => {
      const { imageBuildCommand } = await import('./images.js')
      return await imageBuildCommand(context, building.opts<ImageBuildFlags>())
    }),
  )
  const adding = sub('add', 'offer an image to peers: an archive of docker save or an OCI layout')
    .argument('<archive>', 'one tar file, plain or compressed with zstd')
    .option('--name <name>', 'what jobs call it (default: its own name)')
  adding.action(
    act(async (context, path = '') => {
      const { imageAddCommand } = await import('./images.js')
      return await imageAddCommand(context, path, adding.opts())
    }),
  )
  sub('ls', 'images that jobs can name, and those that others brought').action(
    act(async (context) => await (await import('./images.js')).imageLsCommand(context)),
  )
  sub('rm', 'remove an image that no job needs')
    .argument('<name>', 'its name, or how its digest begins')
    .action(
      act(async (context, name = '') =>
        (await import('./images.js')).imageRmCommand(context, name),
      ),
    )
}

function addHelpCommand(program: Command): void {
  program
    .command('help')
    .description('help for a command, or for exit-codes')
    .argument('[topic]', 'a command, or exit-codes')
    .action((topic: string | undefined) => {
      if (topic === 'exit-codes') {
        process.stdout.write(`${EXIT_CODES_HELP}\n`)
        return
      }
      const command = program.commands.find((one) => one.name() === topic)
      if (topic !== undefined && command === undefined) {
        program.error(`error: no help for '${topic}'`)
      }
      ;(command ?? program).outputHelp()
    })
}

function readVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  const version: unknown = Reflect.get(Object(JSON.parse(text)), 'version')
  return typeof version === 'string' ? version : 'unknown'
}

function tellError(error: unknown): void {
  const paint = createPaint(process.stderr.isTTY, environment())
  const code = error instanceof CtdError ? error.code : 'INTERNAL'
  const lines = [`${paint('red', `error[${code}]:`)} ${errorMessage(error)}`]
  if (error instanceof CtdError && error.hint !== undefined) lines.push(`  hint  ${error.hint}`)
  if (code === 'INTERNAL' && environment()['CTD_DEBUG'] !== undefined && error instanceof Error) {
    lines.push(error.stack ?? '')
  }
  process.stderr.write(`${lines.join('\n')}\n`)
}

// A reader that leaves early (`ctd ps | head -1`) is no error.
process.stdout.on('error', (error) => {
  if (Reflect.get(error, 'code') === 'EPIPE') process.exit(EXIT.ok)
  throw error
})
process.exitCode = await main(process.argv)
// A start that failed half way may leave sockets open; they must not keep the program.
setTimeout(() => process.exit(), EXIT_GRACE_MS).unref()

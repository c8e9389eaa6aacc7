/**
 * Adapters and work over rows in the real task image: the arithmetic against that of whole models,
 * and the same bytes for the same task. Builds the image first if it is not there: minutes.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import type { ImageRef, TaskInput } from '../../src/container/container-runtime.js'
import { runBuiltin } from '../../src/training/builtin.js'
import { deltaTensors } from '../../src/training/codec.js'
import type { GivenModel, MapVerb } from '../../src/training/given-model.js'
import { adapterParameters } from '../../src/training/lora.js'
import { mapTask, VECTOR_SCALE } from '../../src/training/map.js'
import { evalTask, planTraining, trainTask, type TrainingPlan } from '../../src/training/plan.js'
import { SafetensorsReader } from '../../src/training/safetensors.js'
import { Bench, ROOT, SKIP, type RunRecord } from './harness.js'

const WORDS = ['lo mi tara sen', 'grok vash zu krim', 'aeo iou eia oae']
const TEXTS = Array.from({ length: 240 }, (_, i) => `${WORDS[i % 3] ?? ''} ${i}`)

describe('adapters and rows in the task image', { skip: SKIP, timeout: 900_000 }, () => {
  let bench: Bench
  let dir: string

  before(async () => {
    const args = ['--import', 'tsx', 'scripts/build-image.ts', '--json']
    const options = { cwd: ROOT, maxBuffer: 64 * 1024 * 1024 }
    const { stdout } = await promisify(execFile)(process.execPath, args, options)
    const built: { image: ImageRef; loaded: string } = JSON.parse(
      stdout.trim().split('\n').at(-1) ?? '',
    )
    assert.notEqual(built.loaded, 'no engine answers', 'this test needs a container engine')
    bench = await Bench.open(built.image)
    dir = join(bench.folder, 'job')
    await mkdir(dir)
    const lines = TEXTS.map((text, i) => `${text},${'abc'[i % 3] ?? ''}`)
    await writeFile(join(dir, 'data.csv'), ['text,label', ...lines].join('\n'))
    await writeFile(join(dir, 'texts.txt'), `${TEXTS.slice(0, 50).join('\n')}\n`)
  })
  after(async () => bench.close())

  async function container(argv: readonly string[], inputs: readonly TaskInput[]) {
    return bench.run(
      bench.spec('', { argv, inputs, memoryMiB: 1024, pids: 256, timeoutMs: 300_000 }),
    )
  }

  async function runTask(task: unknown, files: Readonly<Record<string, string>>) {
    const path = join(dir, `task-${tasks++}.json`)
    await writeFile(path, JSON.stringify(task))
    const inputs = Object.entries(files).map(([name, file]) => ({ name, path: join(dir, file) }))
    return container(['python3', '/opt/ctd/trainer.py'], [{ name: 'task.json', path }, ...inputs])
  }
  let tasks = 0

  function succeeded({ outcome }: RunRecord): string {
    assert.equal(outcome.status, 'succeeded', outcome.logTail)
    return outcome.outDir
  }

  async function readJson(path: string): Promise<Record<string, number>> {
    return JSON.parse(await readFile(path, 'utf8'))
  }

  /** Runs lines of Python beside the programs of the image; they print what they found. */
  async function python(lines: string, files: Readonly<Record<string, string>> = {}) {
    const inputs = Object.entries(files).map(([name, file]) => ({ name, path: join(dir, file) }))
    const head = 'import sys\nsys.path.insert(0, "/opt/ctd")\n'
    const out = succeeded(await container(['python3', '-c', head + lines], inputs))
    return readJson(join(out, 'found.json'))
  }

  test('gives adapters the gradients that the chain rule takes from those of the whole', async () => {
    const found = await python(`
import json, torch
import causal_lm, lora, text_classifier, trainer_tasks
torch.manual_seed(1)
cases = [
    (causal_lm, dict(family="causal-lm", layers=2, hidden=16, heads=2, intermediate=32, vocabulary=40, maxLength=12),
     "transformer.h.1.attn.c_attn", {"tokens": torch.randint(3, 40, (4, 10), dtype=torch.int16)}),
    (text_classifier, dict(family="text-classifier", layers=2, hidden=16, heads=2, intermediate=32, vocabulary=40, maxLength=12, classes=3),
     "bert.encoder.layer.1.attention.self.query", {"tokens": torch.randint(3, 40, (4, 10), dtype=torch.int16), "labels": torch.tensor([0, 1, 2, 1], dtype=torch.int32)}),
]
worst = 0.0
for family, config, module, batch in cases:
    frozen = {name: 0.3 * torch.randn(shape) for name, shape in family.parameter_shapes(config).items()}
    how = {"rank": 3, "alpha": 5.0, "transposed": family is causal_lm}
    shape = frozen[module + ".weight"].shape
    outputs, inputs = reversed(shape) if how["transposed"] else shape
    name = "base_model.model." + module
    down, up = torch.randn(3, inputs, requires_grad=True), torch.randn(outputs, 3, requires_grad=True)
    whole = lora.apply_adapters(frozen, {name + ".lora_A.weight": down, name + ".lora_B.weight": up}, how)
    family.loss(config, whole, batch)[0].backward()
    scale = 5.0 / 3
    product = scale * (up @ down).detach()
    plain = dict(frozen)
    matrix = (frozen[module + ".weight"] + (product.T if how["transposed"] else product)).requires_grad_()
    plain[module + ".weight"] = matrix
    family.loss(config, plain, batch)[0].backward()
    full = matrix.grad.T if how["transposed"] else matrix.grad
    for got, expected in ((down.grad, scale * up.T @ full), (up.grad, scale * full @ down.T)):
        assert expected.norm() > 1e-4, "a gradient of nothing shows nothing"
        worst = max(worst, float((got - expected).norm() / expected.norm()))
json.dump({"worst": worst}, open("/out/found.json", "w"))
`)
    assert.ok((found['worst'] ?? 1) < 1e-5, `${found['worst']}`)
  })

  describe('of a classifier', () => {
    let plan: TrainingPlan
    const lora = { rank: 4, targets: 'all' } as const
    const shape = { model: 'bert-tiny', classes: 3, maxLength: 24, seed: 'test' }
    const frozen = { 'frozen.safetensors': 'base/weights.safetensors' }

    before(async () => {
      plan = planTraining({ ...shape, rows: TEXTS.length, epochs: 3, rounds: 1, shards: 1, lora })
      const dataset = [{ name: 'data.csv', path: join(dir, 'data.csv') }]
      const split = { shards: 1, maxLength: 24, seed: 'test', model: 'bert-tiny' }
      await runBuiltin('split@1', split, dataset, join(dir, 'data'))
      await runBuiltin('init@1', shape, [], join(dir, 'base'))
      await runBuiltin('adapters@1', { ...shape, lora }, inputs(frozen), join(dir, 'adapters'))
    })

    function inputs(files: Readonly<Record<string, string>>): TaskInput[] {
      return Object.entries(files).map(([name, file]) => ({ name, path: join(dir, file) }))
    }

    function trained(weights: string) {
      return { ...frozen, 'weights.safetensors': weights, 'data.safetensors': DATA }
    }
    const DATA = 'data/train-000.safetensors'

    test('learns by them alone, scores the same with them worked in, and takes no other rank', async () => {
      const task = trainTask(plan, { round: 0, shard: 0 })
      const first = succeeded(await runTask(task, trained('adapters/weights.safetensors')))
      const again = succeeded(await runTask(task, trained('adapters/weights.safetensors')))
      const delta = await readFile(join(first, 'delta.safetensors'))
      assert.deepEqual(delta, await readFile(join(again, 'delta.safetensors')))
      assert.ok(plan.lora !== undefined)
      const expected = adapterParameters(plan.model, plan.lora)
      const reader = await SafetensorsReader.open(join(first, 'delta.safetensors'))
      assert.deepEqual(
        [...reader.tensors.keys()].sort(),
        expected.flatMap((spec) => deltaTensors(spec, 'int8').map(({ name }) => name)).sort(),
      )
      await reader.close()

      const update = [
        ...inputs({ 'weights.safetensors': 'adapters/weights.safetensors' }),
        ...inputs({ 'momentum.safetensors': 'adapters/momentum.safetensors' }),
        { name: 'delta-000.safetensors', path: join(first, 'delta.safetensors') },
        { name: 'metrics-000.json', path: join(first, 'metrics.json') },
      ]
      const params = { shards: 1, ...plan.outer }
      await runBuiltin('aggregate@2', params, update, join(dir, 'round'))
      const after = { ...frozen, 'adapters.safetensors': 'round/weights.safetensors' }
      await runBuiltin('merge@1', { ...shape, lora }, inputs(after), join(dir, 'merged'))

      const data = { 'data.safetensors': 'data/eval-000.safetensors' }
      const evaluate = async (task: unknown, files: Readonly<Record<string, string>>) =>
        readJson(join(succeeded(await runTask(task, { ...data, ...files })), 'metrics.json'))
      const apart = await evaluate(evalTask(plan), {
        ...frozen,
        'weights.safetensors': 'round/weights.safetensors',
      })
      const { lora: _lora, ...whole } = plan
      const merged = { 'weights.safetensors': 'merged/weights.safetensors' }
      const together = await evaluate(evalTask(whole), merged)
      assert.equal(apart['correct'], together['correct'])
      const [a = 0, b = 0] = [apart['nllFixed'], together['nllFixed']]
      assert.ok(Math.abs(a - b) < 1e-5 * a, `${a} against ${b}`)
      assert.ok((apart['correct'] ?? 0) >= 20, `${apart['correct']} of 24`)

      const found = await python(
        `
import json, torch
import lora, text_classifier, trainer_tensors
read = trainer_tensors.read_tensors
config, how = ${JSON.stringify(plan.model)}, json.loads('${JSON.stringify(plan.lora)}')
frozen, merged = read("/in/frozen.safetensors"), read("/in/merged.safetensors")
adapters = lora.read_adapters("/in/adapters.safetensors", frozen, how)
tokens = torch.randint(3, 259, (8, 24), generator=torch.Generator().manual_seed(1))
with torch.no_grad():
    apart = text_classifier.classify(config, lora.apply_adapters(frozen, adapters, how), tokens)
    together = text_classifier.classify(config, merged, tokens)
    base = text_classifier.classify(config, frozen, tokens)
far = lambda a, b: float((a - b).abs().max())
try:
    lora.read_adapters("/in/adapters.safetensors", frozen, how | {"rank": 5})
    raise SystemExit("another rank was taken")
except trainer_tensors.BadInput:
    pass
json.dump({"difference": far(apart, together), "moved": far(apart, base)}, open("/out/found.json", "w"))
`,
        { ...after, 'merged.safetensors': 'merged/weights.safetensors' },
      )
      assert.ok((found['difference'] ?? 1) < 1e-5, `${found['difference']}`)
      assert.ok((found['moved'] ?? 0) > 0.1, `${found['moved']}`)
    })
  })

  async function prepareRows(verb: MapVerb, model: GivenModel, shards: number, maxTokens: number) {
    const name = `${verb}-${shards}`
    const dataset = [{ name: 'dataset', path: join(dir, 'texts.txt') }]
    const params = { verb, model, rows: 50, shards, format: 'txt', maxTokens }
    await runBuiltin('split-rows@1', params, dataset, join(dir, name))
    return name
  }

  test('embeds each row as the plain forward pass does, to the rounding of the file', async () => {
    const preset = { model: 'embed-tiny', maxLength: 32, seed: 'e' }
    await runBuiltin('init@1', preset, [], join(dir, 'encoder'))
    const model = planTraining({ ...preset, rows: 50, epochs: 1 }).model
    assert.ok(model.family === 'sentence-embedding')
    const rows = await prepareRows('embed', model, 1, 0)
    const weights = { 'weights.safetensors': 'encoder/weights.safetensors' }
    const given = { ...weights, 'rows.safetensors': `${rows}/rows-000.safetensors` }
    const options = { seed: '', rows: 50, shards: 1, maxTokens: 0, temperature: 0, endToken: 2 }
    const task = mapTask({ verb: 'embed', model, ...options }, 0)
    const out = succeeded(await runTask(task, given))
    await mkdir(join(dir, 'embedded'))
    await writeFile(join(dir, 'embedded/out'), await readFile(join(out, 'out.safetensors')))
    const made = [{ name: 'out-000.safetensors', path: join(out, 'out.safetensors') }]
    const join1 = { verb: 'embed', rows: 50, shards: 1, width: model.hidden, output: 'npy' }
    await runBuiltin('join@1', join1, made, join(dir, 'joined'))
    const found = await python(
      `
import json, numpy, torch
import sentence_embedding, trainer_tensors
config = ${JSON.stringify(model)}
weights = trainer_tensors.read_tensors("/in/weights.safetensors")
vectors = numpy.load("/in/vectors.npy")
texts = open("/in/texts.txt").read().splitlines()
assert vectors.shape == (50, config["hidden"]) and vectors.dtype == numpy.float32
worst = 0.0
with torch.no_grad():
    for text, vector in zip(texts, vectors):
        ids = [1, *(3 + byte for byte in text.encode()[:30]), 2]
        plain = sentence_embedding.embed(config, weights, torch.tensor([ids]))[0]
        worst = max(worst, float((plain - torch.from_numpy(vector)).abs().max()))
apart = float(numpy.abs(vectors[0] - vectors[1]).max())
json.dump({"worst": worst, "apart": apart}, open("/out/found.json", "w"))
`,
      { ...weights, 'vectors.npy': 'joined/vectors.npy', 'texts.txt': 'texts.txt' },
    )
    assert.ok((found['worst'] ?? 1) < 0.51 / VECTOR_SCALE, `${found['worst']}`)
    assert.ok((found['apart'] ?? 0) > 0.01, `${found['apart']}`)
  })

  test('generates twice the same bytes, and greedily what the whole model finds likeliest', async () => {
    const preset = { model: 'gpt-tiny', maxLength: 64, seed: 'g' }
    await runBuiltin('init@1', preset, [], join(dir, 'language'))
    const model = planTraining({ ...preset, rows: 50, epochs: 1 }).model
    assert.ok(model.family === 'causal-lm')
    const weights = { 'weights.safetensors': 'language/weights.safetensors' }
    const run = async (shards: number, shard: number): Promise<string> => {
      const rows = `generate-${shards}/rows-00${shard}.safetensors`
      const base = { verb: 'generate', model, rows: 50, endToken: 2, seed: 's' } as const
      const task = mapTask({ ...base, shards, maxTokens: 12, temperature: 1 }, shard)
      const out = succeeded(await runTask(task, { ...weights, 'rows.safetensors': rows }))
      return join(out, 'out.safetensors')
    }
    await prepareRows('generate', model, 1, 12)
    await prepareRows('generate', model, 2, 12)
    const whole = await run(1, 0)
    assert.deepEqual(await readFile(whole), await readFile(await run(1, 0)))
    const tokens = await readTokens(whole)
    assert.deepEqual(await readTokens(await run(2, 1)), tokens.slice(25 * 12))

    const found = await python(
      `
import json, torch
import causal_lm, inference, trainer_tensors
config = ${JSON.stringify(model)}
weights = trainer_tensors.read_tensors("/in/weights.safetensors")
prompts = trainer_tensors.read_tensors("/in/rows")["tokens"].long()
task = {"model": config, "maxTokens": 12, "temperature": 0, "endToken": 2}
same = 0
with torch.no_grad():
    for prompt in prompts[:10]:
        ids = [int(token) for token in prompt if token >= 0]
        written = inference.write_on(task, weights, torch.tensor([ids]), ["0"])[0].tolist()
        for token in written:
            likeliest = int(causal_lm.predict(config, weights, torch.tensor([ids]))[0, -1].argmax())
            assert token == likeliest, (ids, token, likeliest)
            ids.append(token)
        same += len(written)
hot = task | {"temperature": 1.0}
draw = lambda seed: inference.write_on(hot, weights, prompts[:1, :16], [seed]).tolist()
assert draw("a") == draw("a") != draw("b")
try:
    inference.check_prompts("rows", prompts, config, 60)
    refused = 0
except trainer_tensors.BadInput:
    refused = 1
json.dump({"same": same, "refused": refused}, open("/out/found.json", "w"))
`,
      { ...weights, rows: 'generate-1/rows-000.safetensors' },
    )
    assert.ok((found['same'] ?? 0) > 60, `${found['same']} tokens compared`)
    assert.equal(found['refused'], 1)
  })

  async function readTokens(path: string): Promise<readonly number[]> {
    const reader = await SafetensorsReader.open(path)
    const tensor = reader.tensors.get('tokens')
    assert.ok(tensor !== undefined)
    const tokens = await reader.readInt32(tensor, 0, tensor.sizeBytes / 4)
    await reader.close()
    return [...tokens]
  }
})

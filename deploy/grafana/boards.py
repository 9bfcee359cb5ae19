"""What the dashboards show: their panels, and the queries behind them.

Every query is run against a real Prometheus by tests/deploy/monitoring. `$gateway`, `$model` and `$server` are the boxes
at the top of a dashboard, $__rate_interval is Grafana's own. Lines are long here: a query is one, as Grafana shows it.
"""

# ruff: noqa: E501

from panel import Dashboard, Panel

G = 'instance=~"$gateway"'
M = f'{G},model=~"$model"'
T = 'instance=~"$server",model=~"$model"'
R = '{job="yolov7-redis"}'
W = "[$__rate_interval]"
GATEWAYS = "label_values(yolov7_build_info, instance)"
MODELS = "label_values(yolov7_model_ready, model)"
STAGES = ("receive", "decode", "preprocess", "cache", "queue", "infer", "postprocess", "serialise")


def rate(name: str, by: str, where: str = G) -> str:
    """Per second, by some labels."""
    return f"sum by ({by}) (rate(yolov7_{name}{{{where}}}{W}))"


def mean(name: str, by: str, where: str = G) -> str:
    """Of a histogram's observations."""
    return f"{rate(f'{name}_sum', by, where)} / {rate(f'{name}_count', by, where)}"


def quantiles(name: str, by: str = "", where: str = G) -> dict[str, str]:
    """Median, 95th and 99th percentile of a histogram, by legend."""
    labels, legend = f"le, {by}" if by else "le", f" {{{{{by}}}}}" if by else ""
    buckets = rate(f"{name}_bucket", labels, where)
    return {f"p{part}{legend}": f"histogram_quantile(0.{part}, {buckets})" for part in ("50", "95", "99")}


def heat(title: str, name: str, *, where: str = G, unit: str = "s", width: int = 6, text: str = "") -> Panel:
    """A histogram over time."""
    query = f"sum by (le) (increase(yolov7_{name}_bucket{{{where}}}{W}))"
    return Panel(title, {"": query}, "heat", unit, width, text)


def stat(
    title: str, query: str, unit: str = "short", *, red: float | None = None, low: bool = False, text: str = ""
) -> Panel:
    """One number."""
    return Panel(title, {"": query}, "stat", unit, 3, text, red, low)


def triton_us(part: str) -> str:
    """Mean seconds that a request spent in a part of Triton."""
    where = f"{{{T}}}{W}"
    return (
        f"sum by (model) (rate(nv_inference_{part}_duration_us{where})) / 1e6"
        f" / sum by (model) (rate(nv_inference_request_success{where}))"
    )


SERVICE = Dashboard(
    "yolov7-service",
    "Service",
    "What clients get: requests, errors, durations; and what the service does for it.",
    {"gateway": GATEWAYS, "model": MODELS},
    {
        "At a glance": (
            stat("Gateways up", 'count(up{job="yolov7-gateway"} == 1) or vector(0)', red=1, low=True),
            stat("Alerts", 'count(ALERTS{alertstate="firing",severity!="none"}) or vector(0)', red=1),
            stat("Requests", f"sum(rate(yolov7_requests_total{{{G}}}[5m]))", "reqps"),
            stat("Frames", f"sum(rate(yolov7_frames_total{{{G}}}[5m])) or vector(0)", "reqps"),
            stat("Images inferred", f"sum(rate(yolov7_inferences_total{{{M}}}[5m]))", "reqps"),
            stat("p95 of an image", f"histogram_quantile(0.95, sum by (le) (rate(yolov7_image_duration_seconds_bucket{{{M}}}[5m])))", "s", red=1),
            stat("Models ready", f"min(yolov7_model_ready{{{M}}})", red=1, low=True, text="1 where every gateway serves every model."),
            stat("Known images", f"min(yolov7_known_image_found{{{M}}})", red=1, low=True, text="1 where every model still sees."),
        ),
        "Objectives": (
            Panel("Error budget: how many times too fast it is spent", {
                f"{{{{slo}}}} {window}": f"yolov7:slo_burn:rate{window}" for window in ("5m", "1h", "6h", "3d")
            }, width=16, red=1, text="1 spends the budget of 30 days in 30 days. 99.5 % without an error of ours, 99 % within a second."),
            Panel("What runs", {"{{instance}} {{version}} {{engine}}": f"yolov7_build_info{{{G}}}"}, "bars", width=8),
            Panel("What fires", {"{{severity}}: {{alertname}} {{instance}} {{model}} {{slo}}": 'ALERTS{alertstate="firing",severity!="none"}'}, "bars", width=16, red=1, text="Each has its section in docs/runbook.md."),
            Panel("Since the latest start", {"{{instance}}": f"time() - yolov7_start_time_seconds{{{G}}}"}, unit="s"),
        ),
        "Requests, errors, duration: by transport": (
            Panel("Requests", {"{{transport}}": rate("requests_total", "transport")}, "stacked", "reqps"),
            Panel("By code", {"{{transport}} {{code}}": rate("requests_total", "transport, code")}, "stacked", "reqps"),
            Panel("Errors", {"{{kind}}": rate("errors_total", "kind")}, "stacked", "reqps", text="Answers that were errors, those of clients too, and failures that were worked around."),
            Panel("Duration", quantiles("request_duration_seconds", "transport", f'{G},route!~"/livez|/readyz|/metrics"'), unit="s"),
            Panel("p95 by route", {"{{route}}": f"histogram_quantile(0.95, {rate('request_duration_seconds_bucket', 'le, route')})"}, unit="s"),
            heat("Duration of detection", "request_duration_seconds", where=f'{G},route=~"/v1/detect|/v1/vision/.*|/yolov7.v1.Detection/Detect"', width=8),
        ),
        "Requests, errors, duration: by model": (
            Panel("Images", {"{{model}} {{version}}": rate("images_total", "model, version", M)}, "stacked", "reqps", text="Complete pictures of requests and streams."),
            Panel("Images that were not answered", {"{{model}} {{outcome}}": rate("images_total", "model, outcome", f'{M},outcome!="answered"')}, "stacked", "reqps"),
            Panel("Duration", quantiles("image_duration_seconds", "model", M), unit="s", text="From a complete picture to its detections."),
        ),
        "Stages": (
            *(heat(stage.capitalize(), "stage_duration_seconds", where=f'{G},stage="{stage}"') for stage in STAGES),
            Panel("Mean of each stage", {"{{stage}}": mean("stage_duration_seconds", "stage")}, "stacked", "s", 24),
        ),
        "Batches": (
            heat("Batch size", "batch_size", unit="short", width=8),
            Panel("Mean batch size", {"{{instance}}": mean("batch_size", "instance")}),
            Panel("Images inferred", {"{{model}} {{version}}": rate("inferences_total", "model, version", M)}, "stacked", "reqps"),
            heat("Wait in the queue", "queue_wait_seconds", width=8),
            Panel("Queue", {"{{instance}}": f"yolov7_queue_length{{{G}}}", "{{instance}} capacity": f"yolov7_queue_capacity{{{G}}}"}),
            Panel("Waiting beside inferring", {
                "{{instance}} waits": "yolov7:queue_seconds:mean5m{" + G + "}", "{{instance}} infers": "yolov7:infer_seconds:mean5m{" + G + "}",
            }, unit="s", text="Past the knee, images wait for longer than they are worked on."),
            Panel("Accepted but never inferred", {"{{reason}}": rate("dropped_total", "reason")}, "stacked", "reqps", 12),
            heat("Pixels of the pictures", "image_pixels", unit="short", width=12),
        ),
        "Admission": (
            Panel("In flight", {"{{instance}}": f"yolov7_requests_in_flight{{{G}}}", "{{instance}} limit": f"yolov7_concurrency_limit{{{G}}}"}),
            Panel("Refused", {"{{reason}}": rate("rejected_total", "reason")}, "stacked", "reqps", text="Before any work was done."),
            Panel("Part that is refused for want of room", {"{{instance}}": "yolov7:refused:ratio5m{" + G + "}"}, unit="percentunit", red=0.05),
        ),
        "Cache": (
            Panel("Look-ups", {"{{result}}": rate("cache_total", "result")}, "stacked", "reqps"),
            Panel("Hits", {
                "hits": f"{rate('cache_total', '', f'''{G},result=~'hit_memory|hit_redis|collapsed' ''')} / {rate('cache_total', '', f'''{G},result!~'off|refresh|dropped' ''')}",
                "Redis does not answer {{instance}}": "yolov7:cache_unanswered:ratio5m{" + G + "}",
            }, unit="percentunit", most=1),
            Panel("In memory", {"{{instance}}": f"yolov7_cache_bytes{{{G}}}"}, unit="bytes"),
        ),
        "Models and engines": (
            Panel("Ready", {"{{instance}} {{model}} {{version}}": f"yolov7_model_ready{{{M}}}"}, most=1, width=6),
            Panel("Known image found", {"{{instance}} {{model}} {{version}}": f"yolov7_known_image_found{{{M}}}"}, most=1, width=6),
            Panel("Since the known image was run", {"{{instance}} {{model}}": f"time() - yolov7_known_image_timestamp_seconds{{{M}}}"}, unit="s", width=6, red=600),
            Panel("Engine answers", {"{{instance}} → {{endpoint}}": f"yolov7_engine_endpoint_up{{{G}}}"}, most=1, width=6, text="Triton only."),
            Panel("Models that had died and were loaded again", {"{{instance}} {{model}}": f"sum by (instance, model) (increase(yolov7_model_reloads_total{{{M}}}[1h]))"}, width=24),
        ),
    },
)  # fmt: skip

CAMERAS = Dashboard(
    "yolov7-cameras",
    "Cameras",
    "Streams of frames, of all cameras together: a camera's name is in the log and in no label.",
    {"gateway": GATEWAYS},
    {
        "Streams": (
            Panel("Open", {"{{transport}}": f"sum by (transport) (yolov7_streams_open{{{G}}})"}, "stacked"),
            Panel("Frames answered", {"{{transport}}": rate("frames_total", "transport", f'{G},outcome="answered"')}, "stacked", "reqps"),
            Panel("Frames answered, by stream", {
                "{{transport}}": f"{rate('frames_total', 'transport', f'''{G},outcome='answered' ''')} / (sum by (transport) (yolov7_streams_open{{{G}}}) > 0)"
            }, unit="reqps", text="The mean over the open streams."),
            Panel("Streams that ended, by code", {"{{transport}} {{code}}": rate("requests_total", "transport, code", f'{G},route=~"/v1/stream|.*/DetectStream"')}, "stacked", "reqps", 12),
            Panel("Streams that were refused", {"{{reason}}": rate("rejected_total", "reason", f'{G},reason=~"streams|calls|unauthenticated|forbidden"')}, "stacked", "reqps", 12),
        ),
        "Age": (
            Panel("From receipt to answer", quantiles("frame_age_seconds", "transport"), unit="s"),
            heat("gRPC", "frame_age_seconds", where=f'{G},transport="grpc"', width=8),
            heat("WebSocket", "frame_age_seconds", where=f'{G},transport="websocket"', width=8),
        ),
        "Drops": (
            Panel("What became of the frames", {"{{transport}} {{outcome}}": rate("frames_total", "transport, outcome")}, "stacked", "reqps", 12),
            Panel("Too old, or no room", {"{{instance}} {{transport}}": "yolov7:frames_stale:ratio5m{" + G + "}"}, unit="percentunit", width=12, red=0.1),
        ),
    },
)  # fmt: skip

DETECTIONS = Dashboard(
    "yolov7-detections",
    "Detections",
    "What the models see, beside what they are expected to see. Objects that score 0.25 or more.",
    {"gateway": GATEWAYS, "model": MODELS},
    {
        "Drift, by hour": (
            Panel("Another mix of classes", {"{{model}} {{version}}": 'yolov7:class_drift:mean1h{model=~"$model"}'}, unit="percentunit", red=0.3, text="0: the mix of the reference; 1: nothing in common."),
            Panel("Mean score", {
                "{{model}} {{version}}": 'yolov7:score:mean1h{model=~"$model"}', "{{model}} {{version}} expected": 'yolov7:score:expected{model=~"$model"}',
            }, most=1),
            Panel("Mean size", {
                "{{model}} {{version}}": 'yolov7:size_ratio:mean1h{model=~"$model"}', "{{model}} {{version}} expected": 'yolov7:size_ratio:expected{model=~"$model"}',
            }, unit="percentunit", text="Root of the box's part of the picture."),
            Panel("Classes", {"{{model}} {{class}}": 'yolov7:class_ratio:mean1h{model=~"$model"}'}, "bars", "percentunit", 12, most=1),
            Panel("Classes as expected", {"{{model}} {{class}}": 'yolov7:class_ratio:expected{model=~"$model"}'}, "bars", "percentunit", 12, most=1),
        ),
        "Objects": (
            Panel("By class", {"{{model}} {{class}}": rate("detections_total", "model, class", M)}, "stacked", "reqps", 12),
            heat("Objects in a picture", "detections_per_image", unit="short", width=6, text="As answered: with the thresholds of the request."),
            Panel("Objects in a picture, by hour", {"{{model}} {{version}}": 'yolov7:objects_per_image:mean1h{model=~"$model"}'}, width=6),
        ),
        "Scores and sizes": (
            heat("Scores", "detection_score", where=M, unit="short", width=12),
            heat("Sizes", "detection_size_ratio", where=M, unit="percentunit", width=12, text="Root of the box's part of the picture."),
        ),
    },
)  # fmt: skip

TRITON = Dashboard(
    "yolov7-triton",
    "Triton",
    "The inference servers, as they say themselves. Their times are means: Triton counts no percentiles.",
    {"server": "label_values(nv_inference_count, instance)", "model": "label_values(nv_inference_count, model)"},
    {
        "Inference": (
            Panel("Requests", {"{{instance}} {{model}}": f"sum by (instance, model) (rate(nv_inference_request_success{{{T}}}{W}))"}, "stacked", "reqps"),
            Panel("Failures", {"{{model}} {{reason}}": f"sum by (model, reason) (rate(nv_inference_request_failure{{{T}}}{W}))"}, "stacked", "reqps"),
            Panel("Pending", {"{{instance}} {{model}}": f"sum by (instance, model) (nv_inference_pending_request_count{{{T}}})"}, text="Requests that wait in Triton."),
            Panel("Images inferred", {"{{model}}": f"sum by (model) (rate(nv_inference_count{{{T}}}{W}))"}, "stacked", "reqps"),
            Panel("Images in a batch, mean", {"{{model}}": f"sum by (model) (rate(nv_inference_count{{{T}}}{W})) / sum by (model) (rate(nv_inference_exec_count{{{T}}}{W}))"}),
            Panel("Where a request's time goes", {
                f"{{{{model}}}} {part}": triton_us(part) for part in ("queue", "compute_input", "compute_infer", "compute_output")
            }, "stacked", "s"),
            Panel("Pinned memory", {
                "{{instance}} used": 'nv_pinned_memory_pool_used_bytes{instance=~"$server"}', "{{instance}} total": 'nv_pinned_memory_pool_total_bytes{instance=~"$server"}',
            }, unit="bytes"),
            Panel("CPU", {"{{instance}}": 'nv_cpu_utilization{instance=~"$server"}'}, unit="percentunit", text="Of the whole machine."),
            Panel("Memory of the machine", {
                "{{instance}}": 'nv_cpu_memory_used_bytes{instance=~"$server"}', "{{instance}} total": 'nv_cpu_memory_total_bytes{instance=~"$server"}',
            }, unit="bytes"),
        ),
        "GPU": (
            Panel("Utilisation", {"{{gpu_uuid}}": 'nv_gpu_utilization{instance=~"$server"}'}, unit="percentunit", most=1),
            Panel("Memory", {
                "{{gpu_uuid}}": 'nv_gpu_memory_used_bytes{instance=~"$server"}', "{{gpu_uuid}} total": 'nv_gpu_memory_total_bytes{instance=~"$server"}',
            }, unit="bytes"),
            Panel("Power", {"{{gpu_uuid}}": 'nv_gpu_power_usage{instance=~"$server"}', "{{gpu_uuid}} limit": 'nv_gpu_power_limit{instance=~"$server"}'}, unit="watt"),
        ),
    },
)  # fmt: skip

REDIS = Dashboard(
    "yolov7-redis",
    "Redis",
    "The cache, the rates and the leases that gateways share, as redis_exporter and the gateways see it.",
    {"gateway": GATEWAYS},
    {
        "Redis": (
            stat("Up", f"min(redis_up{R})", red=1, low=True),
            stat("Clients", f"sum(redis_connected_clients{R})"),
            stat("Keys", f"sum(redis_db_keys{R})"),
            stat("Memory", f"sum(redis_memory_used_bytes{R})", "bytes"),
            Panel("Commands", {"{{cmd}}": f"sum by (cmd) (rate(redis_commands_total{R}{W}))"}, "stacked", "reqps", 12),
            Panel("Time of a command, mean", {
                "{{cmd}}": f"sum by (cmd) (rate(redis_commands_duration_seconds_total{R}{W})) / sum by (cmd) (rate(redis_commands_total{R}{W}))"
            }, unit="s"),
            Panel("Keys looked up", {"found": f"sum(rate(redis_keyspace_hits_total{R}{W}))", "not found": f"sum(rate(redis_keyspace_misses_total{R}{W}))"}, "stacked", "reqps"),
            Panel("Keys that went", {"evicted": f"sum(rate(redis_evicted_keys_total{R}{W}))", "expired": f"sum(rate(redis_expired_keys_total{R}{W}))"}, "stacked", "reqps", text="Evicted for want of memory."),
            Panel("Memory", {"used": f"sum(redis_memory_used_bytes{R})", "limit": f"sum(redis_memory_max_bytes{R})"}, unit="bytes", width=12),
            Panel("Network", {"in": f"sum(rate(redis_net_input_bytes_total{R}{W}))", "out": f"sum(rate(redis_net_output_bytes_total{R}{W}))"}, unit="Bps", width=12),
        ),
        "As the gateways see it": (
            Panel("Look-ups that went to Redis", {"{{result}}": rate("cache_total", "result", f'{G},result=~"hit_redis|miss|late|skipped|error|damaged"')}, "stacked", "reqps", 12),
            Panel("Failures that were worked around", {"{{instance}} {{kind}}": rate("errors_total", "instance, kind", f'{G},kind=~"cache|rates"')}, width=12),
        ),
    },
)  # fmt: skip

BOARDS = (SERVICE, CAMERAS, DETECTIONS, TRITON, REDIS)

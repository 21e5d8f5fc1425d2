# shellcheck shell=bash
# Prometheus, Debian's. What it scrapes is named by files in its folder targets/,
# which whoever starts a Sluice writes and removes; it finds them within 2 s.

prometheus_up() {
	local d=$DIR/prometheus
	mkdir -p "$d/targets"
	cat >"$DIR/etc/prometheus.yml" <<-LINES
		global: {scrape_interval: 2s, evaluation_interval: 5s}
		scrape_configs:
		  - job_name: sluice
		    file_sd_configs: [{files: ["$d/targets/*.json"], refresh_interval: 2s}]
		  - job_name: prometheus
		    static_configs: [{targets: ["127.0.0.1:$PROMETHEUS_PORT"]}]
	LINES
	start prometheus prometheus --config.file="$DIR/etc/prometheus.yml" --storage.tsdb.path="$d/data" \
		--storage.tsdb.retention.time=1d --web.listen-address="127.0.0.1:$PROMETHEUS_PORT" --log.level=warn
	wait_for 20 prometheus http_ok "$PROMETHEUS_URL/-/ready"
}

prometheus_down() {
	stop prometheus
	rm -rf "$DIR/prometheus"
}

prometheus_status() { pid_of prometheus >/dev/null && echo "$PROMETHEUS_URL"; }
